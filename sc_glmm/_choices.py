"""Words that an option of the command takes, as typer wants them."""

from __future__ import annotations

from enum import StrEnum


class Family(StrEnum):
    """Distribution of the counts."""

    nb = "nb"
    poisson = "poisson"
    gaussian = "gaussian"


class Method(StrEnum):
    """How variances are estimated."""

    reml = "reml"
    ml = "ml"


class Stage(StrEnum):
    """What a chunk goes through."""

    prepare = "prepare"
    compress = "compress"
    fit = "fit"
    profile = "profile"


class Test(StrEnum):
    """How contrasts are tested."""

    eb_lr = "eb_lr"
    eb_wald = "eb_wald"
    hk = "hk"
    ql = "ql"
    satterthwaite = "satterthwaite"
    satterthwaite_moderated = "satterthwaite_moderated"
    t = "t"
    wald = "wald"
    lrt = "lrt"
    bootstrap = "bootstrap"


class Dispersion(StrEnum):
    """Which dispersions the moderated tests hold."""

    ml = "ml"
    shrunken = "shrunken"


class Within(StrEnum):
    """What is assumed of effects within samples."""

    heterogeneous = "heterogeneous"
    homogeneous = "homogeneous"


class Adjust(StrEnum):
    """What p-values are adjusted over."""

    group = "group"
    everything = "global"
