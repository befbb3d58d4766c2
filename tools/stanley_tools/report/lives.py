"""The report's cards on the lives of chains: their ages over iterations and in the newest draws, and who counts."""
import numpy as np

from ..files import number
from .checks import recent
from .figures import lives
from .markup import card, plot


def age_limits(run):
    """chains.burn_in and chains.maximum_age in chain steps, each None where there is none."""
    return tuple(number(run.setting(f"chains.{key}")) or None for key in ("burn_in", "maximum_age"))


def age_cards(run, record, draws):
    limits = age_limits(run)
    cards = [plot(record, ["chain_age_mean", "chain_age_max"], "Ages", lambda r: lives.age(r, *limits),
                  "Of the active chains. Ages rise until restarts balance them; then the mean stays level. Chains much "
                  f"younger than the time that a picture takes to form pull the gap up.{of_limit(limits[1])}")]
    if limits[0]:
        cards.append(counted(record, limits[0]))
    if draws is not None and draws.age is not None and np.isfinite(draws.age).all() and np.ptp(draws.age) > 0:
        cards.append(drawn_ages(draws, *limits))
    return cards


def of_limit(maximum_age):
    return (f" Chains restart at their first visit from {maximum_age:,.0f} steps on (<code>chains.maximum_age</code>)."
            if maximum_age else "")


def counted(record, burn_in):
    lately = recent(record, "counted_share")
    level = f" Lately {np.mean(lately):.2f}." if len(lately) else ""
    return plot(record, ["counted_share"], "Chains that count", lives.counted_share,
                f"Share of the active chains that the loss counts: those of {burn_in:,.0f} steps or more "
                f"(<code>chains.burn_in</code>), or all where none is that old, as at the start.{level} Healthy: most of "
                "them, and level. Not: few, so that the loss is that of few chains: restart less, or count earlier.")


def drawn_ages(draws, burn_in, maximum_age):
    ages = draws.age
    how = f"Of the {len(ages):,} chains of the draws of iteration {draws.iteration:,}."
    if burn_in and (ages >= burn_in).any():
        how += f" {int((ages < burn_in).sum()):,} are younger than <code>chains.burn_in</code> and don't count yet."
    elif burn_in:
        how += " No chain has reached <code>chains.burn_in</code>: all count."
        burn_in = None
    return card("Ages of the drawn chains", lives.age_histogram(ages, burn_in, maximum_age),
                f"{how} Healthy: many ages, fewer the older. A heap at the right end: chains that never restarted. Not: "
                "all chains in one heap, which have restarted together.")
