"""The driver, its workers and the memory between them; `delivery` decides, the rest does.

    training process                                      outside
    order ─► delivery ─► driver ── tasks, in channels ──► worker: source[i] ─► slot
                           ▲                                 │
              arena, leases └──────── results ◄──────────────┘        template: loads the source once, forks the workers

One file a part: `messages` are all that crosses; `delivery` is pure; `arena` owns the memory, and only the training
process moves a slot from one state to another; `item`, `collate` and `wire` turn `source[i]` into bytes and back.
"""
