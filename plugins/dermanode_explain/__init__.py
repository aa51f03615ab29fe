"""The explain stage: where in each view the classifier's answer comes from. Added to the node as any vendor adds a stage."""

from __future__ import annotations

import pluggy

from dermanode.domain import Case
from dermanode.hookspecs import StageContext, hookimpl, hookspec
from dermanode_explain.finding import Explanation
from dermanode_explain.settings import ExplainSettings

NAME = "dermanode-explain"
BUNDLE = "lesion_classifier"


class Stages:
    """What this plugin adds to the contract."""

    @hookspec(firstresult=True)
    def explain(self, case: Case, context: StageContext) -> Explanation | None:
        """Says where in the views the classification comes from."""


@hookimpl
def add_hookspecs(pluginmanager: pluggy.PluginManager) -> None:
    """The stage `explain`, which the node does not know by itself."""
    pluginmanager.add_hookspecs(Stages)


@hookimpl
def explain(case: Case, context: StageContext) -> Explanation | None:
    """A heat map for every view that was classified, of the most probable diagnosis if the settings name no other class."""
    settings = ExplainSettings.of(NAME, context.settings)
    if case.classification is None:
        context.decline("there is no classification to explain: the pipeline needs a classify stage that was performed")
        return None
    if case.clean_views is None or case.segmentation is None or not any(mask.confidence for mask in case.segmentation.masks):
        context.decline("no cleaned view has a lesion's mask: the classifier's crops cannot be found again")
        return None
    # torch is loaded when there is work, not when plugins are listed.
    from dermanode_classify.classifier import load

    from dermanode_explain.stage import explain_views

    return explain_views(case, case.classification, load(context.bundle(BUNDLE), context.device), settings, context)


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads the classifier, which the classify stage of this process shares, and explains nothing once."""
    from dermanode_classify.classifier import load

    from dermanode_explain.stage import rehearse

    rehearse(load(context.bundle(BUNDLE), context.device), ExplainSettings.of(NAME, context.settings))
