"""Thresholds from labels: with a guarantee, at the share of the live index.

Needs scikit-learn, scipy, matplotlib and Jinja (``saferank[calibration]``); what only asks an index
(``what_if``, ``sample``) needs no extra.
"""
