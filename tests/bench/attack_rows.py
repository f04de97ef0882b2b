"""How long one run of the strongest attack takes, and its matching beside scipy's quadratic assignment."""

from __future__ import annotations

from processes import HERE, Runner
from rows import Line, Sizes, labelled_set


def attack(runner: Runner, sizes: Sizes) -> list[Line]:
    """Attack as many records as are tried by default; both matchings see the same matrices, in one process."""
    given = {
        "file": f"{labelled_set(runner, 'febrl4', sizes.febrl)}.parquet",
        "spec": str(HERE.parents[1] / "schemas/linkage/examples/febrl4_default.yaml"),
        "records": sizes.attacked,
    }
    found = runner.ours("attacks", step="attack_graph", **given)[0]
    whole = f"graph attack on spec default, FEBRL4, {found['records']:,} records, one core"
    title = "  its matching alone, undiffused CLK (share matched rightly)"
    ours, peer = (f"{found[f'{who}_seconds']:.1f} s ({found[f'{who}_rate']:.0%})" for who in ("match", "faq"))
    ratio = f"{found['match_seconds'] / found['faq_seconds']:.2f}"
    return [
        Line(whole, f"{found['seconds']:.1f} s", values=found),
        Line(title, ours, f"scipy FAQ {peer}", ratio, values=found),
    ]
