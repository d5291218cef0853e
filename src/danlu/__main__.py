"""`python -m danlu` is the command `danlu`."""

from __future__ import annotations

from danlu.cli import main

raise SystemExit(main())
