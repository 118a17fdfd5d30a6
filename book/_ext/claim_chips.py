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

from srlib.check import describe as words

_PAGE = "book/claims"
_MARKS = {"holds": "✓", "undecided": "?", "fails": "✗"}
_KINDS = {"exact": "exact up to rounding", "bound": "inequality", "sampled": "sampled", "empirical": "experiment"}
_PLURALS = {"exact": "exact up to rounding", "bound": "inequalities", "sampled": "sampled", "empirical": "experiments"}
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
        worst = next((verdict for verdict in ("fails", "undecided") if verdict in verdicts), "holds")
        chip = link(
            self, _PAGE, f"claims-{self.text.lower()}", f"{_MARKS[worst]} {self.text}", f"claim-chip claim-{worst}"
        )
        chip["reftitle"] = f"{verdicts.count('holds')} of {len(verdicts)} checks of {self.text} hold"
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
    return "SMFNCIXGP".find(letter), number


def summary(claims: list[dict]) -> str:
    counts = ", ".join(f"{sum(claim['kind'] == kind for claim in claims)} {name}" for kind, name in _PLURALS.items())
    verdicts = [claim["verdict"] for claim in claims]
    alarm = sum(claim["false_alarm"] for claim in claims)
    sampled, experiments = (
        sum(claim["undecided"] for claim in claims if claim["kind"] == kind) for kind in ("sampled", "empirical")
    )
    return (
        f"{len(claims)} claims ({counts}): {verdicts.count('holds')} hold, {verdicts.count('fails')} fail, "
        f"{verdicts.count('undecided')} are undecided; together they reject "
        f"{sum(len(claim['rejected']) for claim in claims)} wrong alternatives. With fresh seeds the probability that "
        f"any of the sampled ones raises a false alarm is at most {alarm:.1e}; {sampled:.2g} of them and "
        f"{experiments:.2g} of the experiments are expected to be undecided."
    )


def describe(claim: dict) -> list[str]:
    which = f", the tightest of {claim['entries']}" if claim["entries"] > 1 else ""
    facts = [f"{_KINDS[claim['kind']]}{which}: {words(claim)}"]
    if claim["kind"] == "empirical":
        facts.append(f"slack {claim['slack']:g}")
    else:
        facts.append(f"slack {claim['slack']:g}; would have noticed an error of {percent(claim['noticeable'])}")
        if claim["resolve"] is not None:
            facts[-1] += f" ({percent(claim['resolve'])} was asked for)"
    if claim["samples"]:
        seed = "" if claim["seed"] is None else f", seed {claim['seed']}"
        facts[-1] += f"; {claim['samples']} independent replicates{seed}"
        facts.append(f"with a fresh seed: undecided with probability {chance(claim['undecided'])}")
    if claim["rejected"]:
        facts.append(f"rejected: {', '.join(claim['rejected'])}")
    if claim["missed"]:
        facts.append(f"NOT rejected: {', '.join(claim['missed'])}")
    return facts


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def chance(probability: float) -> str:
    return f"{probability:.2g}" if probability >= 1e-6 else "below 1e-6"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", load)
    app.connect("env-check-consistency", match)
    app.add_role("claims", ClaimChips())
    app.add_role("verdict", Verdict())
    app.add_directive("claims-list", ClaimsList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
