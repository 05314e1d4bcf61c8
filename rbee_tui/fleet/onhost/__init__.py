"""What runs on a host: standard library only, sent through SSH as one program.

Each module works with nothing installed; `rbee_tui.fleet.program` packs them. They print JSON
lines: ``{"step": …}`` while they work, then one ``{"result": …}`` or ``{"failed": …}``.
"""
