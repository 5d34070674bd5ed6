"""Run folders of trainings: pictures of sample forecasts, and one HTML page that compares the runs."""
