"""Image formats: how they are recognised, what their headers say, how their pixels become RGB."""
