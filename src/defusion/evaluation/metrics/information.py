"""Metrics of histograms: entropy, cross entropy, mutual information and metrics derived from it.

The toolkits first stretch pictures to 0..255. This keeps different levels different, so entropies and mutual
information do not change. Only the two metrics that compare levels between pictures stretch them here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import stretched
from defusion.evaluation.metrics.sharing import shared

#: The order of Tsallis' entropy in Cvejic 2006 and in Nava 2007.
_CVEJIC_ORDER, _NAVA_ORDER = 1.85, 0.43137


@shared
def histogram(plane: Grey) -> NDArray[np.float64]:
    """Shares of the 256 levels."""
    return np.bincount(plane.ravel(), minlength=256) / plane.size


@shared
def joint_histogram(a: Grey, b: Grey) -> NDArray[np.float64]:
    """Shares of pairs of levels, [256, 256]: a down, b across."""
    pairs = a.ravel().astype(np.int32) * 256 + b.ravel()
    return np.bincount(pairs, minlength=65536).reshape(256, 256) / a.size


def entropy_bits(shares: NDArray[np.float64]) -> float:
    """Returns -sum p log2 p over the shares that are not zero."""
    filled = shares[shares > 0]
    return float(0.0 - (filled * np.log2(filled)).sum())


@shared
def mutual_bits(a: Grey, b: Grey) -> float:
    """Mutual information of two planes in bits."""
    return entropy_bits(histogram(a)) + entropy_bits(histogram(b)) - entropy_bits(joint_histogram(a, b))


def _entropy(a: Grey, b: Grey, fused: Grey) -> float:
    return entropy_bits(histogram(fused))


def _cross_entropy(a: Grey, b: Grey, fused: Grey) -> float:
    return (_cross_entropy_of(a, fused) + _cross_entropy_of(b, fused)) / 2


def _cross_entropy_of(source: Grey, fused: Grey) -> float:
    p, q = histogram(source), histogram(fused)
    both = (p > 0) & (q > 0)
    return float((p[both] * np.log2(p[both] / q[both])).sum())


def _mutual_information(a: Grey, b: Grey, fused: Grey) -> float:
    return (mutual_bits(a, fused) + mutual_bits(b, fused)) * math.log(2)


def _mutual_information_tang(a: Grey, b: Grey, fused: Grey) -> float:
    return _mutual_bits_tang(a, fused) + _mutual_bits_tang(b, fused)


def _mutual_bits_tang(source: Grey, fused: Grey) -> float:
    """Tang's joint histogram adds 1 to 8-bit levels, so 254 and 255 coincide, unlike in single histograms."""
    joint = joint_histogram(source, fused).copy()
    joint[254] += joint[255]
    joint[:, 254] += joint[:, 255]
    joint = joint[:255, :255]
    return entropy_bits(histogram(source)) + entropy_bits(histogram(fused)) - entropy_bits(joint)


def _normalised_mutual_information(a: Grey, b: Grey, fused: Grey) -> float:
    total = 0.0
    for source in (a, b):
        bits = entropy_bits(histogram(source)) + entropy_bits(histogram(fused))
        if bits == 0:
            raise UndefinedError("a source and the fused picture have one value each, and no information")
        total += mutual_bits(source, fused) / bits
    return 2 * total


@shared
def _tsallis(a: Grey, b: Grey, order: float) -> float:
    """Returns Tsallis' divergence of a joint histogram from independence, including the toolkits' error.

    They divide the share of levels (i, j) by the share of level i in b and of level j in a; it should be the other
    way round.
    """
    joint = joint_histogram(a, b)
    independent = np.outer(joint.sum(axis=0), joint.sum(axis=1))
    met = independent > 0
    return float((1 - (joint[met] ** order / independent[met] ** (order - 1)).sum()) / (1 - order))


def _tsallis_cvejic(a: Grey, b: Grey, fused: Grey) -> float:
    fused = stretched(fused)
    return _tsallis(stretched(a), fused, _CVEJIC_ORDER) + _tsallis(stretched(b), fused, _CVEJIC_ORDER)


def _tsallis_nava(a: Grey, b: Grey, fused: Grey) -> float:
    a, b, fused = stretched(a), stretched(b), stretched(fused)
    scale = _tsallis(a, b, _NAVA_ORDER)
    for source in (a, b):
        scale += float(np.power(entropy_bits(histogram(source)), _NAVA_ORDER))
    if scale == 0:
        raise UndefinedError("the sources have no information")
    return (_tsallis(a, fused, _NAVA_ORDER) + _tsallis(b, fused, _NAVA_ORDER)) / scale


def _nonlinear_correlation(a: Grey, b: Grey, fused: Grey) -> float:
    """Returns 1 minus the entropy, to base 256, of the eigenvalues of the three pictures' correlations."""
    ab, af, bf = (mutual_bits(*pair) / 8 for pair in ((a, b), (a, fused), (b, fused)))
    shares = np.linalg.eigvalsh([[1, ab, af], [ab, 1, bf], [af, bf, 1]]) / 3
    if shares.min() <= 0:
        raise UndefinedError("an eigenvalue of the correlations is not above zero and has no logarithm")
    return 1 - entropy_bits(shares) / 8


EN = Metric(
    name="en",
    title="Entropy of the fused picture, bits",
    better="higher",
    span=(0.0, 8.0),
    colour="each channel",
    source="Van Aardt 2008; VIFB metricsEntropy.m",
    measure=_entropy,
    same_as="VIFB.Entropy",
)
CE = Metric(
    name="ce",
    title="Cross entropy with the sources, bits",
    better="lower",
    span=(-math.inf, math.inf),
    colour="each channel",
    source="Bulanon 2009; VIFB metricsCross_entropy.m",
    measure=_cross_entropy,
    same_as="VIFB.Cross_entropy",
)
MI = Metric(
    name="mi",
    title="Mutual information with the sources, nats",
    better="higher",
    span=(0.0, 32 * math.log(2)),
    colour="each channel",
    source="Qu 2002; VIFB metricsMutinf.m",
    measure=_mutual_information,
    same_as="VIFB.Mutinf",
)
NMI = Metric(
    name="nmi",
    title="Normalised mutual information",
    better="higher",
    span=(0.0, 2.0),
    colour="each channel",
    source="Hossny 2008; MEFB metricsNMI.m",
    measure=_normalised_mutual_information,
    same_as="MEFB.NMI",
)
TE = Metric(
    name="te",
    title="Tsallis divergence, order 1.85",
    better="higher",
    span=(-math.inf, math.inf),
    colour="each channel",
    source="Cvejic 2006; MEFB metricsTE.m",
    measure=_tsallis_cvejic,
    same_as="MEFB.TE",
)
TE_NAVA = Metric(
    name="te_nava",
    title="Tsallis divergence, order 0.43137, normalised",
    better="higher",
    span=(-math.inf, math.inf),
    colour="each channel",
    source="Nava 2007; ZL metricMI.m",
    measure=_tsallis_nava,
    same_as="ZL.metricMI3_TsallisNava",
)
QNCIE = Metric(
    name="qncie",
    title="Nonlinear correlation information entropy",
    better="higher",
    span=(0.0, 1.0),
    colour="each channel",
    source="Wang 2005; MEFB metricsQncie.m",
    measure=_nonlinear_correlation,
    same_as="MEFB.Qncie",
)
METRICS: tuple[Metric, ...] = (
    EN,
    EN.named("VIFB.Entropy"),
    EN.named("MEFB.Entropy", "Van Aardt 2008; MEFB metricsEntropy.m"),
    EN.named("Tang.EN", "Van Aardt 2008; Tang, MATLAB's entropy()", "grey"),
    EN.named("CDDFuse.EN", "Van Aardt 2008; CDDFuse Evaluator.EN", "grey"),
    CE,
    CE.named("VIFB.Cross_entropy"),
    CE.named("MEFB.Cross_entropy", "Bulanon 2009; MEFB metricsCross_entropy.m"),
    MI,
    MI.named("VIFB.Mutinf"),
    MI.named("CDDFuse.MI", "Qu 2002; CDDFuse Evaluator.MI", "grey"),
    Metric(
        name="Tang.MI",
        title="Mutual information with the sources, bits, levels 254 and 255 merged",
        better="higher",
        span=(0.0, 34.0),
        colour="grey",
        source="Qu 2002; Tang MI_evaluation.m",
        measure=_mutual_information_tang,
    ),
    NMI,
    NMI.named("MEFB.NMI"),
    NMI.named("ZL.metricMI1_NMI", "Hossny 2008; ZL metricMI.m", "grey"),
    TE,
    TE.named("MEFB.TE"),
    TE.named("ZL.metricMI2_TsallisCvejic", "Cvejic 2006; ZL metricMI.m", "grey"),
    TE_NAVA,
    TE_NAVA.named("ZL.metricMI3_TsallisNava", colour="grey"),
    QNCIE,
    QNCIE.named("MEFB.Qncie"),
    QNCIE.named("ZL.metricWang_QNCIE", "Wang 2005; ZL metricWang.m", "grey"),
)
