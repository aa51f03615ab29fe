"""The committed recipe: how the weights in `models/` were made, and how their figures are measured.

`python -m dermanode_training.train segmentation --data DIR --work DIR` fits; `python -m dermanode_training.evaluate --data DIR` measures
through the plugins that serve a case.
"""
