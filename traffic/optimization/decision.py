"""One second of a city: what each junction may do by the street's rules, and what it should."""

import numpy as np

from traffic.optimization.compiled import compiled
from traffic.optimization.horizon import plan_junction

RED_SLACK_S = 2.0  # kept off the longest red
LONGEST_STAND_S = 100.0  # before a stop line, where a protected green can help
PATIENCE_S = 15.0  # of a new stage's turns with those caught in the junction, its change included
STAYS_S = 5.0  # between two signals: a second one behind would block the first junction
URGENT_AFTER_S = 25.0  # before a stop line of joined junctions
LONGEST_RED_S = 100.0  # of a phase at which somebody waits, where the street allows more


@compiled
def decide_all(  # type: ignore[no-untyped-def]
    layout, weights, work, queues, heads, stage, green_s, red_s, halted, answer
):
    for j in range(stage.size):
        heads.turns_s[j] = max(0.0, heads.turns_s[j] - 1.0)
        if stage[j] >= 0:
            if weights.turns_s > 0.0:
                _hold_turns(layout, weights, heads, j, stage[j], red_s)
            _await_caught(layout, weights, heads, j, stage[j], red_s, halted[j])
        answer[j] = _decide(layout, weights, work, queues, heads, j, stage[j], green_s, red_s)
        if answer[j] >= 0 and stage[j] >= 0 and answer[j] != stage[j]:
            gives_way = layout.is_permissive[layout.stage0[j] + stage[j]] == 1
            # Who was caught before a stage without such turns may be there still.
            if gives_way or heads.quiet_s[j] >= weights.quiet_s:
                heads.patience_s[j] = PATIENCE_S if gives_way else 0.0


@compiled
def _hold_turns(layout, weights, heads, j, stage, red_s):  # type: ignore[no-untyped-def]
    """Note for how long who gives way deep in the junction must not follow others who did.

    These and whoever is caught behind them leave when their stage ends. If those of the next stage
    enter before, each may hold another's way out: nobody moves again.
    """
    phases = layout.phase0[j + 1] - layout.phase0[j]
    others_s, is_through = 0.0, True
    for p in range(phases):
        if not layout.is_deep[layout.green0[j] + stage * phases + p]:
            continue
        now_red_s = red_s[layout.phase0[j] + p]
        if now_red_s == 0.0:
            for q in range(phases):
                change_s = layout.inter_s[layout.inter0[j] + p * phases + q]
                others_s = max(others_s, change_s + weights.turns_s)
            continue
        is_through = False  # those of one stage do not wait for each other
        if now_red_s + 1.0 + RED_SLACK_S >= layout.max_red_s[layout.phase0[j] + p]:
            heads.turns_s[j] = 0.0  # nobody's red may become too long by it
    if is_through:
        heads.turns_s[j] = max(heads.turns_s[j], others_s)


@compiled
def _await_caught(layout, weights, heads, j, stage, red_s, halted):  # type: ignore[no-untyped-def]
    """Keep a new stage's deep turns red while somebody is seen to halt within the junction.

    Those who wait there for a gap leave when the stage ends, one after the other. Others who give
    way across before would hold them up, and they these: nobody moves again (decision 18).
    """
    phases = layout.phase0[j + 1] - layout.phase0[j]
    heads.quiet_s[j] = 0.0 if halted > 0 else heads.quiet_s[j] + 1.0
    if heads.patience_s[j] <= 0.0:
        return
    is_due = False
    for p in range(phases):
        now_red_s = red_s[layout.phase0[j] + p]
        if layout.is_deep[layout.green0[j] + stage * phases + p] and now_red_s > 0.0:
            is_due = True
            if now_red_s + 1.0 + RED_SLACK_S >= layout.max_red_s[layout.phase0[j] + p]:
                return  # nobody's red may become too long by it
    if is_due:
        heads.patience_s[j] -= 1.0
        if heads.quiet_s[j] < weights.quiet_s:
            heads.turns_s[j] = max(heads.turns_s[j], 1.0)


@compiled
def _decide(layout, weights, work, queues, heads, j, now_stage, green_s, red_s):  # type: ignore[no-untyped-def]
    """Return the stage to show now: the first when none is known, -1 when none is lawful."""
    if now_stage < 0:
        return 0
    _note_waiting(layout, weights, work, queues, heads, j)
    settled_s = _note_starts(layout, work, heads, j, now_stage, green_s, red_s)
    longest, least = _find_longest(layout, work, queues, heads, j, now_stage, red_s)
    is_due = longest >= 0 or layout.is_barred[layout.stage0[j] + now_stage]
    if longest >= 0 and not _can_follow(layout, work, j, now_stage, longest, least):
        longest = -1  # whatever may follow comes before the stage that helps
    may_hold = _may_hold(layout, j, now_stage, green_s, red_s)
    phases = layout.phase0[j + 1] - layout.phase0[j]
    stages = layout.stage0[j + 1] - layout.stage0[j]
    for s in range(stages):
        free_s = _find_free(layout, work, j, now_stage, s, settled_s, green_s, red_s)
        if longest >= 0 and layout.green[layout.green0[j] + s * phases + longest] < least:
            free_s = np.inf
        work.free_s[s] = free_s
        may_follow = layout.follows[layout.follows0[j] + now_stage * stages + s] == 1
        if is_due and s != now_stage and free_s <= 0.0 and may_follow:
            may_hold = False  # overdue: the change comes as soon as it is lawful
    return plan_junction(
        layout, weights, work, j, now_stage, work.start_s, may_hold, work.free_s, queues
    )


@compiled
def _note_waiting(layout, weights, work, queues, heads, j):  # type: ignore[no-untyped-def]
    """Note for which phases somebody waits, or is caught between two signals."""
    for p in range(layout.phase0[j + 1] - layout.phase0[j]):
        work.waits[p] = False
        work.is_caught[p] = False
    for lane in range(layout.lane0[j], layout.lane0[j + 1]):
        if layout.is_joined[j]:
            stood_s = max(0.0, heads.stood_s[lane] - URGENT_AFTER_S)
            queues.urgency[lane] = 1.0 + stood_s / weights.urgent_s
        if queues.length[lane] == 0:
            continue
        first = queues.seen[lane, 0]
        p = layout.way_phase[first.way]
        if p >= 0 and first.weight == 1.0 and first.arrive_s < 10.0:
            work.waits[p] = True
            if layout.is_between[lane] and first.arrive_s < weights.caught_s:
                work.is_caught[p] = True  # some stage lets go protected whoever is let in
    if weights.caught_s > 0.0:
        _shut_between(layout, queues, heads, j)


@compiled
def _note_starts(layout, work, heads, j, now_stage, green_s, red_s):  # type: ignore[no-untyped-def]
    """Note when each green began, or will when the present change is through.

    Returns when all of them have been shown for their least time.
    """
    phase0 = layout.phase0[j]
    phases = layout.phase0[j + 1] - phase0
    green0, inter0 = layout.green0[j] + now_stage * phases, layout.inter0[j]
    settled_s = 0.0
    for p in range(phases):
        work.start_s[p] = np.inf
        if layout.green[green0 + p] == 0:
            continue
        if red_s[phase0 + p] == 0.0:
            work.start_s[p] = -green_s[phase0 + p]
            continue
        due_s = layout.regain_s[phase0 + p] - red_s[phase0 + p]
        for q in range(phases):
            between_s = layout.inter_s[inter0 + q * phases + p]
            if between_s > 0 and layout.green[green0 + q] == 0:
                if red_s[phase0 + q] > 0:
                    due_s = max(due_s, between_s - red_s[phase0 + q])
                else:
                    left_s = layout.min_green_s[phase0 + q] - green_s[phase0 + q]
                    due_s = max(due_s, between_s + max(0.0, left_s))
        if layout.is_deep[green0 + p]:
            due_s = max(due_s, heads.turns_s[j])
        work.start_s[p] = max(0.0, due_s)
        settled_s = max(settled_s, work.start_s[p] + layout.min_green_s[phase0 + p])
    return settled_s


@compiled
def _may_hold(layout, j, now_stage, green_s, red_s):  # type: ignore[no-untyped-def]
    """Whether the street's law lets the stage stay for one more second."""
    phase0 = layout.phase0[j]
    phases = layout.phase0[j + 1] - phase0
    for p in range(phases):
        is_on = layout.green[layout.green0[j] + now_stage * phases + p] > 0
        age_s = green_s[phase0 + p]
        if red_s[phase0 + p] == 0.0:
            limit_s = layout.max_green_s[phase0 + p] if is_on else np.inf
            if age_s >= limit_s or (not is_on and age_s < layout.min_green_s[phase0 + p]):
                return False
        elif not is_on and red_s[phase0 + p] >= layout.max_red_s[phase0 + p]:
            return False
    return True


@compiled
def _find_longest(layout, work, queues, heads, j, now_stage, red_s):  # type: ignore[no-untyped-def]
    """Return the phase that is due for its long red, -1 if none is, and what it must be shown.

    That is 1, any green, or 2, a protected one.
    """
    phase0 = layout.phase0[j]
    phases = layout.phase0[j + 1] - phase0
    green0 = layout.green0[j]
    longest, longest_s, least = -1, 0.0, 1
    for p in range(phases):
        if layout.green[green0 + now_stage * phases + p] == 0 and red_s[phase0 + p] > 0.0:
            # Early enough that all who are due at once can have their turn.
            limit_s = layout.max_red_s[phase0 + p] - RED_SLACK_S - layout.round_s[j]
            is_due = work.waits[p] or layout.max_red_s[phase0 + p] < np.inf
            if is_due and red_s[phase0 + p] >= max(min(LONGEST_RED_S, limit_s), longest_s):
                longest, longest_s = p, red_s[phase0 + p]
    for lane in range(layout.lane0[j], layout.lane0[j + 1]):
        # Green that gives way has not helped whoever still stands.
        if heads.stood_s[lane] < max(LONGEST_STAND_S, longest_s) or queues.length[lane] == 0:
            continue
        w = queues.seen[lane, 0].way
        p = layout.way_phase[w]
        # Nor has a protected green helped whom something else holds.
        if p >= 0 and not heads.is_denied[w] and not queues.blocked[w]:
            helps = False
            for s in range(layout.stage0[j + 1] - layout.stage0[j]):
                helps |= layout.green[green0 + s * phases + p] == 2
            if helps and layout.green[green0 + now_stage * phases + p] < 2:
                longest, longest_s, least = p, heads.stood_s[lane], 2
    if longest >= 0:
        left_s = layout.max_red_s[phase0 + longest] - red_s[phase0 + longest]
        if left_s <= 1.0 + RED_SLACK_S:
            work.is_caught[:phases] = False  # nobody's red may become too long by it
    if longest >= 0 and not _helps_any(layout, work, j, longest, least):
        for p in range(phases):
            if work.is_caught[p]:
                longest, least = p, 2  # they leave first
    return longest, least


@compiled
def _find_free(layout, work, j, now_stage, stage, settled_s, green_s, red_s):  # type: ignore[no-untyped-def]
    """From when on a change to a stage is lawful, inf for never."""
    phase0 = layout.phase0[j]
    phases = layout.phase0[j + 1] - phase0
    if not _clears(layout, work, j, stage):
        return np.inf
    free_s = settled_s
    change_s = _measure_change(layout, j, now_stage, stage)
    for p in range(phases):
        is_on = layout.green[layout.green0[j] + stage * phases + p] > 0
        if red_s[phase0 + p] == 0.0:
            if not is_on:
                free_s = max(free_s, layout.min_green_s[phase0 + p] - green_s[phase0 + p])
            elif green_s[phase0 + p] + change_s >= layout.max_green_s[phase0 + p]:
                return np.inf  # it would have to end before those who start may
        elif not is_on and red_s[phase0 + p] >= layout.max_red_s[phase0 + p]:
            return np.inf
    return free_s


@compiled
def _shut_between(layout, queues, heads, j):  # type: ignore[no-untyped-def]
    """Take ways over a road between two signals to be blocked while somebody stays there."""
    for w in range(layout.way0[j], layout.way0[j + 1]):
        over = layout.way_over[w]
        if over >= 0 and heads.stood_s[over] >= STAYS_S:
            queues.blocked[w] = True


@compiled
def _clears(layout, work, j, stage):  # type: ignore[no-untyped-def]
    """Whether nobody who stands between two signals would have to give way in a stage."""
    phases = layout.phase0[j + 1] - layout.phase0[j]
    for p in range(phases):
        if work.is_caught[p] and layout.green[layout.green0[j] + stage * phases + p] == 1:
            return False
    return True


@compiled
def _helps(layout, work, j, stage, phase, least):  # type: ignore[no-untyped-def]
    phases = layout.phase0[j + 1] - layout.phase0[j]
    shown = layout.green[layout.green0[j] + stage * phases + phase]
    return shown >= least and _clears(layout, work, j, stage)


@compiled
def _can_follow(layout, work, j, now_stage, phase, least):  # type: ignore[no-untyped-def]
    """Whether a stage that helps may follow at once."""
    stages = layout.stage0[j + 1] - layout.stage0[j]
    for s in range(stages):
        may_follow = layout.follows[layout.follows0[j] + now_stage * stages + s] == 1
        if s != now_stage and may_follow and _helps(layout, work, j, s, phase, least):
            return True
    return False


@compiled
def _helps_any(layout, work, j, phase, least):  # type: ignore[no-untyped-def]
    for stage in range(layout.stage0[j + 1] - layout.stage0[j]):
        if _helps(layout, work, j, stage, phase, least):
            return True
    return False


@compiled
def _measure_change(layout, j, stage, after):  # type: ignore[no-untyped-def]
    """Seconds from the end of a stage until the minimum greens of another have passed."""
    phases = layout.phase0[j + 1] - layout.phase0[j]
    stages = layout.stage0[j + 1] - layout.stage0[j]
    green0 = layout.green0[j]
    longest_s = 0.0
    for p in range(phases):
        is_gained = layout.green[green0 + after * phases + p] > 0
        if is_gained and layout.green[green0 + stage * phases + p] == 0:
            at = layout.delay0[j] + (stage * stages + after) * phases + p
            least_s = layout.min_green_s[layout.phase0[j] + p]
            longest_s = max(longest_s, 1.0 + layout.delay_s[at] + least_s)
    return longest_s
