"""What a learner looks at: tables, plots, views, widgets and the dashboard."""
