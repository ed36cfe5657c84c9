# SPDX-License-Identifier: BSD-3-Clause
"""What bench/compare and bench/cost are made of: relays to start, cells to measure, results to keep and to show."""
