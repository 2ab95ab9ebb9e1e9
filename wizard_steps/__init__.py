"""What milepost decides: milestones, their gates, and everything below them. No screen in here."""
