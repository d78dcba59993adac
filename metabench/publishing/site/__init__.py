"""The whole site: a front page over all boards, a page per method, workload, task and table, and what links them."""

from metabench.publishing.site.build import build, check
from metabench.publishing.site.collect import REPORTS, SITE, TABLES

__all__ = ["REPORTS", "SITE", "TABLES", "build", "check"]
