"""`python -m study`: see study.command."""

import sys

from study.command import main

sys.exit(main())
