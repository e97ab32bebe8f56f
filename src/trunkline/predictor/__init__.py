"""Using what was fitted: answers over committed rows and new images, and one artifact of backbone, mask and head.

| file | what is in it |
|---|---|
| `answers.py` | outputs of a head → a table for people: names, probabilities, values |
| `answer_files.py` | answers as CSV, JSON or Parquet, block by block |
| `new_images.py` | images of any source → features, as extraction makes them, unreadable ones with their reason |
"""
