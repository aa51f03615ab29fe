"""How good the models are: photographs with masks and labels through the plugins, as a case is served.

    python benchmarks/models.py --data DIR [--images DIR] [--split NAME] [--json FILE] [--models DIR] [--limit N] [--workers N]
                                [--tasks segmentation,classification,fusion] [--no-write] [--skip-missing] [--calibrate]
    python benchmarks/models.py --strange

DIR holds lesions.csv (columns id, set, split, image; where there are any also mask, label7, label8, lesion, group, age, sex, site) and for
each set a folder or a zip of its name. Pictures of any size, as JPEG, PNG, BMP or TIFF. Prints tables and writes figures_NAME.json, .md
and the confusion matrices as pictures into models/*/docs. The bundles' own `run evaluation` is the same code.
"""

from __future__ import annotations

from dermanode_training.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
