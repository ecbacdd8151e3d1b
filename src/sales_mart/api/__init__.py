"""The read API of `sales-mart serve`, over the published marts of one warehouse.

A request passes `front` (keys, limits, answers that are kept, log and metrics); what is left comes
to the routes of `app`, whose answers `service` makes of what `sales` and `runs` ask the warehouse.
"""
