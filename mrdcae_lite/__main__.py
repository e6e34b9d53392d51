"""`python -m mrdcae_lite` is the command `mrdcae`."""

import sys

from mrdcae_lite.cli import main

sys.exit(main())
