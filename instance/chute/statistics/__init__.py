"""Statistics of calls: mergeable histograms per minute and series, their table, their export to Prometheus."""
