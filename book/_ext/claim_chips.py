"""Show the claims, collected from the executed notebooks, beside the theorems and on the Claims page.

``{claims}`F2` `` draws a chip for each claim of theorem F2 that leads to the Claims page; ``{verdict}`F2` `` draws one
chip for all of them together; the directive ``{claims-list}`` is that page: every claim with its theorem, its notebook
cell, its numbers and its verdict. A theorem without a claim and a claim without a theorem are warned of, on which the
build fails.
"""

import json
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

_PAGE = "book/claims"
_MARKS = {"pass": "✓", "fail": "✗"}
_KINDS = {"exact": "exact up to rounding", "sampled": "sampled", "empirical": "experiment"}
_THEOREMS = ("theorem", "proposition", "lemma", "corollary")

logger = logging.getLogger(__name__)


def load(app: Sphinx) -> None:
    app.env.srlib_claims = json.loads(Path(app.srcdir, "claims.json").read_text())


def match(app: Sphinx, env: BuildEnvironment) -> None:
    """Hold the claims against what sphinx-proof has read."""
    proofs = getattr(env, "proof_list", {}).values()  # there is none before the first directive
    theorems = {proof["label"]: proof for proof in proofs if proof["realtype"] in _THEOREMS}
    checked = {claim["statement"] for claim in env.srlib_claims}
    for label, proof in theorems.items():
        kind = proof["realtype"]
        if label.startswith(f"{kind}-"):  # sphinx-proof's own for one that has none
            logger.warning("a %s has no label: put `:label: F2` below it", kind, location=proof["docname"])
        elif label not in checked:
            logger.warning("%s %s has no claim", kind, label, location=proof["docname"])
    for claim in env.srlib_claims:
        if claim["statement"] not in theorems:
            text = "claim %s has no theorem: no chapter labels one %s"
            logger.warning(text, claim["id"], claim["statement"], location=f"notebooks/{claim['notebook']}")


def link(role, docname: str, fragment: str, text: str, classes: str = "") -> nodes.reference:
    """Return a link to a place on another page, for which Sphinx has no label."""
    uri = f"{role.env.app.builder.get_relative_uri(role.env.docname, docname)}#{fragment}"
    return nodes.reference("", text, refuri=uri, internal=True, classes=classes.split())


class ClaimChips(SphinxRole):
    def run(self):
        mine = [claim for claim in self.env.srlib_claims if claim["statement"] == self.text]
        chips: list[nodes.Node] = [nodes.inline("", "checked: ", classes=["claim-lead"])]
        for claim in mine:
            text = f"{_MARKS[claim['verdict']]} {claim['id']}"
            chips += [
                link(self, _PAGE, f"claim-{claim['id']}", text, f"claim-chip claim-{claim['verdict']}"),
                nodes.Text(" "),
            ]
        return [nodes.inline("", "", *chips, classes=["claim-chips"])], []


class Verdict(SphinxRole):
    def run(self):
        verdicts = [claim["verdict"] for claim in self.env.srlib_claims if claim["statement"] == self.text]
        worst = "pass" if verdicts and set(verdicts) == {"pass"} else "fail"
        chip = link(
            self, _PAGE, f"claims-{self.text.lower()}", f"{_MARKS[worst]} {self.text}", f"claim-chip claim-{worst}"
        )
        chip["reftitle"] = f"{verdicts.count('pass')} of {len(verdicts)} checks of {self.text} hold"
        return [chip], []


class ClaimsList(SphinxDirective):
    def run(self):
        claims = self.env.srlib_claims
        result: list[nodes.Node] = [nodes.paragraph("", summary(claims))]
        for statement, group in groupby(sorted(claims, key=order), key=lambda claim: claim["statement"]):
            section = nodes.section(ids=[f"claims-{statement.lower()}"], names=[f"claims {statement.lower()}"])
            section += nodes.title("", statement)
            section += [self.card(claim) for claim in group]
            result.append(section)
        return result

    def card(self, claim: dict) -> nodes.container:
        card = nodes.container(classes=["claim-card", f"claim-{claim['verdict']}"], ids=[f"claim-{claim['id']}"])
        theorem = addnodes.pending_xref(
            "",
            nodes.inline("", claim["statement"]),
            refdomain="prf",
            reftype="ref",
            reftarget=claim["statement"],
            refdoc=self.env.docname,
            refexplicit=False,
            refwarn=True,
        )
        verdict = nodes.strong("", f"{_MARKS[claim['verdict']]} {claim['id']}", classes=["claim-name"])
        cell = link(self, f"notebooks/{claim['notebook']}", f"claim-{claim['id']}", f"{claim['notebook']}")
        card += nodes.paragraph("", "", verdict, nodes.Text(" → "), theorem, nodes.Text(" → "), cell)
        card += nodes.paragraph("", claim["text"])
        facts = nodes.bullet_list("", classes=["claim-facts"])
        facts += [nodes.list_item("", nodes.paragraph("", fact)) for fact in describe(claim)]
        card += facts
        return card


def order(claim: dict) -> tuple[int, int]:
    """Sort as the book argues: S, M, F, N, C, I, X, G."""
    letter, number = claim["statement"][0], int(claim["statement"][1:])
    return "SMFNCIXG".find(letter), number


def summary(claims: list[dict]) -> str:
    counts = ", ".join(f"{sum(claim['kind'] == kind for claim in claims)} {name}" for kind, name in _KINDS.items())
    failed = sum(claim["verdict"] != "pass" for claim in claims)
    alarm = sum(claim["false_alarm"] for claim in claims)
    return (
        f"{len(claims)} claims ({counts}); {failed} failed; together they reject "
        f"{sum(len(claim['rejected']) for claim in claims)} wrong alternatives. With a fresh seed the probability that "
        f"any of the sampled ones raises a false alarm is at most {alarm:.1e}."
    )


def describe(claim: dict) -> list[str]:
    low, high = claim["interval"]
    which = f", the tightest of {claim['entries']}" if claim["entries"] > 1 else ""
    facts = [f"{_KINDS[claim['kind']]}{which}: predicted {claim['prediction']:g}, found {claim['estimate']:g}"]
    if claim["kind"] != "exact":
        facts[0] += f" in [{low:g}, {high:g}]"
    facts.append(f"slack {claim['slack']:g}; would have noticed an error of {100 * claim['noticeable']:.2g} %")
    if claim["samples"]:
        seed = "" if claim["seed"] is None else f", seed {claim['seed']}"
        facts[-1] += f"; {claim['samples']} independent replicates{seed}"
    if claim["rejected"]:
        facts.append(f"rejected: {', '.join(claim['rejected'])}")
    if claim["missed"]:
        facts.append(f"NOT rejected: {', '.join(claim['missed'])}")
    return facts


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", load)
    app.connect("env-check-consistency", match)
    app.add_role("claims", ClaimChips())
    app.add_role("verdict", Verdict())
    app.add_directive("claims-list", ClaimsList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
