"""The page ``pollux-sync durable ui``: runs, what they do and wait for, and forms to answer them.

Request -> `guarding` admits it -> `routing` finds what answers -> `reading` asks the host -> `views` build HTML ->
`serving` sends it with the headers of `guarding`.
"""
