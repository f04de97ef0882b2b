"""Statistical disclosure control: what a release may show, and the proof that it shows no more.

``protect`` withholds; ``audit`` and ``compare_releases`` judge what was published without the true counts;
``shares`` and ``round_estimate`` make the figures that stand beside the counts.
"""

from linkage.research.disclosure.audit import Finding, audit, compare_releases
from linkage.research.disclosure.protect import protect
from linkage.research.disclosure.released import ProtectedTable, round_estimate, shares

__all__ = ["Finding", "ProtectedTable", "audit", "compare_releases", "protect", "round_estimate", "shares"]
