"""Published data sets in their own layouts, a file each."""
