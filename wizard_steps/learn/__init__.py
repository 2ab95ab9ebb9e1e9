"""The course: lessons, questions, what a person has answered, and which claims a program can check."""
