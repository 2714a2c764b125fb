"""Middleware that prices answers, by the data of genai-prices or your own, and keeps a budget."""

from pollux_cost.pricing import Price
from pollux_cost.spending import Cost

__all__ = ["Cost", "Price"]
