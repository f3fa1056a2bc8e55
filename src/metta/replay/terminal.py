"""A frame in the terminal: the coloured map, and beside it a panel about the step and its agents."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metta.grid.maps.colors import FROZEN, Color, object_color, team_color
from metta.replay.draw import AgentMark, Frame, Thing

_ARROWS = "^v<>`'./"  # by orientation
_FLOOR_STYLE = "grey35"
_WALL_STYLE = "grey50"


def draw_terminal(
    frame: Frame,
    *,
    max_width: int = 120,
    max_height: int = 40,
    follow: int | None = None,
    title: str = "",
) -> RenderableType:
    """Return a frame as something rich can print or show live.

    A map larger than the terminal (`max_width` columns, `max_height` lines, the panel included) is cut to the part
    around agent `follow`, or around its middle.
    """
    panel_width = 38
    rows = max(max_height - 2, 5)
    columns = max(max_width - panel_width - 2, 10)
    spacing = 2 if 2 * frame.width <= columns else 1
    top, left = _corner(frame, rows, columns // spacing, follow)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(width=panel_width)
    map_lines = draw_lines(frame, top=top, left=left, rows=rows, columns=columns // spacing, spacing=spacing)
    table.add_row(Group(*map_lines), draw_panel(frame, follow=follow, max_lines=rows, title=title))
    return table


def draw_lines(
    frame: Frame, *, top: int = 0, left: int = 0, rows: int = 4096, columns: int = 4096, spacing: int = 1
) -> list[Text]:
    """Return lines of coloured symbols of the cells from (top, left) on; `spacing` characters a cell."""
    marks: dict[tuple[int, int], tuple[str, str]] = {}
    for thing in frame.things:
        marks[thing.row, thing.column] = thing.symbol, _thing_style(thing)
    for agent in frame.agents:
        marks[agent.row, agent.column] = agent.symbol, _agent_style(agent)
    pad = " " * (spacing - 1)
    lines = []
    for row in range(top, min(top + rows, frame.height)):
        line = Text(no_wrap=True)
        for column in range(left, min(left + columns, frame.width)):
            plain = ("#", _WALL_STYLE) if frame.walls[row, column] else (".", _FLOOR_STYLE)
            symbol, style = marks.get((row, column), plain)
            line.append(symbol + pad, style)
        lines.append(line)
    return lines


def draw_panel(frame: Frame, *, follow: int | None = None, max_lines: int = 40, title: str = "") -> Group:
    """Return the step, the rewards, the agent `follow` in full, and the others a line each, the richest first."""
    of = f" of {frame.last_step}" if frame.last_step else ""
    total = sum(agent.total_reward for agent in frame.agents)
    mean = total / len(frame.agents) if frame.agents else 0.0
    lines = [Text(title, style="bold")] if title else []
    lines += [Text(f"step {frame.step}{of}", style="bold"), Text(f"reward {mean:.2f} an agent, {total:.1f} in all")]
    followed = next((agent for agent in frame.agents if agent.agent_id == follow), None)
    if followed is not None:
        lines += [Text(), *_agent_lines(followed)]
    lines.append(Text())
    ranked = sorted(frame.agents, key=lambda agent: (-agent.total_reward, agent.agent_id))
    room = max(max_lines - len(lines), 0)
    for agent in ranked[: room if len(ranked) <= room else max(room - 1, 0)]:
        lines.append(_agent_line(agent))
    if len(ranked) > room:
        lines.append(Text(f"... {len(ranked) - max(room - 1, 0)} more", style="dim"))
    return Group(*lines)


def _agent_line(agent: AgentMark) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{agent.symbol}{agent.agent_id:<3}", _agent_style(agent))
    line.append(f"{_ARROWS[agent.orientation % 8]} {agent.total_reward:6.2f}  ")
    line.append(_amounts(agent.inventory) or "-", "dim")
    return line


def _agent_lines(agent: AgentMark) -> list[Text]:
    state = "  frozen" if agent.is_frozen else ""
    result = "" if agent.action_success else " (failed)"
    return [
        Text(f"agent {agent.agent_id} at row {agent.row}, column {agent.column}{state}", style=_agent_style(agent)),
        Text(f"{agent.action}{result}  reward {agent.reward:+.2f}, so far {agent.total_reward:.2f}"),
        Text(f"holds {_amounts(agent.inventory) or 'nothing'}"),
    ]


def _amounts(inventory: dict[str, int]) -> str:
    return " ".join(f"{name} {amount}" for name, amount in sorted(inventory.items()))


def _agent_style(agent: AgentMark) -> str:
    return f"bold {_hex(FROZEN)}" if agent.is_frozen else f"bold {_hex(team_color(agent.team))}"


def _thing_style(thing: Thing) -> str:
    style = _hex(object_color(thing.name))
    return f"{style} reverse" if thing.inventory and not thing.is_busy else style


def _hex(color: Color) -> str:
    return f"#{color[0]:02x}{color[1]:02x}{color[2]:02x}"


def _corner(frame: Frame, rows: int, columns: int, follow: int | None) -> tuple[int, int]:
    """Return the first row and column of the part that is shown."""
    agent = next((agent for agent in frame.agents if agent.agent_id == follow), None)
    row, column = (agent.row, agent.column) if agent else (frame.height // 2, frame.width // 2)
    top = min(max(row - rows // 2, 0), max(frame.height - rows, 0))
    left = min(max(column - columns // 2, 0), max(frame.width - columns, 0))
    return top, left
