"""What is true on the nodes before anything is started: read-only commands, parsers and judgement.

Every parser is a pure function of text. A missing tool is a value, never an exception.
"""
