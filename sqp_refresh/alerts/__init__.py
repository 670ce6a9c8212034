"""Alert receivers of what happens: write alerts to the outbox, and deliver them from there.

`rules` decides what is an alert, `outbox` stores it, `delivery` sends what is due to the
`receivers`. `webhook` posts: `signature` signs, `address` keeps it on public addresses.
`notification` speaks to Slack, e-mail and other services.
"""
