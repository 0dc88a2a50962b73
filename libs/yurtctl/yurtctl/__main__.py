"""`python -m yurtctl`, which is `yurt`."""

import sys

from yurtctl.app import main

sys.exit(main())
