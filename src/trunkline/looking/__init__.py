"""Looking inside: what a network makes of one image, and what in the image speaks for a head's answer.

| file | what is in it |
|---|---|
| `asked.py` | the image that is meant: a path or URL, an id, or a row of a dataset |
| `activations.py` | the maps of chosen layers, of the network that a recipe cuts |
| `evidence.py` | what speaks for an answer: class-activation maps of linear heads, occlusion for all others |
| `explaining.py` | an answer with its evidence, in words |
| `one_image.py` | prepared and run as the rows of a feature set were |
| `heat.py` | maps as colours over the image |
| `thumbnails.py` | small pictures of rows |
| `drawing.py` | all of it as one picture |
"""
