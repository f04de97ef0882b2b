"""A synthetic population with four agencies' extracts, and the truth about it in files of its own."""

from linkage.lab.population.draw import draw_population
from linkage.lab.population.scenario import LOOSE, MILWAUKEE, SCENARIOS, TIGHT, Scenario, find_scenario

__all__ = ["LOOSE", "MILWAUKEE", "SCENARIOS", "TIGHT", "Scenario", "draw_population", "find_scenario"]
