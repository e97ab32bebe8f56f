"""Using what was fitted: answers over committed rows and new images, and one artifact of backbone, mask and head.

| file | what is in it |
|---|---|
| `answers.py` | outputs of a head → a table for people: names, probabilities, values |
| `answer_files.py` | answers as CSV, JSON or Parquet, block by block |
| `new_images.py` | images of any source → features, as extraction makes them, unreadable ones with their reason |
| `dense_chain.py`, `keras_file.py`, `making.py` | a head as dense layers; the Keras file; the process in which both are made |
| `onnx_graph.py`, `keras_to_onnx.py`, `keras_layers.py` … | an ONNX graph in the making; Keras layers as its operators |
| `head_graph.py`, `tree_graph.py`, `onnx_backbone.py` | heads as operators; the user's ONNX network between pixels and features |
| `onnx_file.py`, `proof.py` | the ONNX file; whether a file answers as the pipeline does |
| `prepare.py` | stands alone: is copied beside the files, and prepares images for them |
"""
