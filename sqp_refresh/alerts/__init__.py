"""Alerts on their way out: what `control.outbox` holds, sent to webhooks and to other services.

`delivery` goes through what is due, `receivers` says where to, `webhook` posts (`signature` signs,
`address` keeps it away from addresses that are not public), `notification` speaks to the rest.
"""
