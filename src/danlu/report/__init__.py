"""From a run's record to one self-contained HTML report, and a short summary for notebooks."""

from __future__ import annotations

from danlu.report.notebook import summary_html
from danlu.report.page import render, write_report
from danlu.report.sections_summary import headline

__all__ = ["headline", "render", "summary_html", "write_report"]
