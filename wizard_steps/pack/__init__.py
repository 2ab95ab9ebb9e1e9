"""`milepost pack`: what nodes without internet need, in one folder."""
