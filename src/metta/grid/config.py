"""What a user writes: `WorldConfig`, a tree of strict models. Mistakes between fields are found in compile.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metta.config import Config
from metta.grid.maps.config import AsciiMapConfig, MapConfig

Quantity = Annotated[int, Field(ge=0, le=255)]
TypeId = Annotated[int, Field(ge=1, le=255)]

DEFAULT_RESOURCES = [
    "ore_red",
    "ore_blue",
    "ore_green",
    "battery_red",
    "battery_blue",
    "battery_green",
    "heart",
    "armor",
    "laser",
    "blueprint",
]


class ObservationConfig(Config):
    """The window an agent sees, the number of tokens, and which global tokens are on."""

    height: int = Field(11, ge=3, le=15, description="rows of the window, odd")
    width: int = Field(11, ge=3, le=15, description="columns of the window, odd")
    num_tokens: int = Field(200, ge=1, le=4096, description="tokens an agent gets; what does not fit is dropped")
    episode_completion_pct: bool = True
    last_action: bool = True
    last_reward: bool = True
    resource_rewards: bool = False
    visitation_counts: bool = False


class RewardsConfig(Config):
    """What an agent is paid for: amounts held, and changes of statistics."""

    inventory: dict[str, float] = Field(default_factory=dict, description="resource -> reward per unit held")
    inventory_max: dict[str, float] = Field(default_factory=dict, description="resource -> cap on its contribution")
    stats: dict[str, float] = Field(default_factory=dict, description="stat -> reward per unit")
    stats_max: dict[str, float] = Field(default_factory=dict, description="stat -> cap on its contribution")


class AgentConfig(Config):
    """A template for agents."""

    default_resource_limit: Quantity = 255
    resource_limits: dict[str, Quantity] = Field(default_factory=dict)
    freeze_duration: Quantity = 10
    action_failure_penalty: float = Field(0.0, ge=0.0)
    initial_inventory: dict[str, Quantity] = Field(default_factory=dict)
    team: int = Field(0, ge=0, le=255)
    group_reward_pct: float = Field(0.0, ge=0.0, le=1.0)
    rewards: RewardsConfig = Field(default_factory=RewardsConfig)


class ActionConfig(Config):
    """Whether a verb is offered, and what it costs. `required_resources` not given: the same as consumed."""

    enabled: bool = False
    required_resources: dict[str, Quantity] | None = None
    consumed_resources: dict[str, Quantity] = Field(default_factory=dict)


class AttackConfig(ActionConfig):
    """An attack; a target that holds all of `defense_resources` loses them and blocks."""

    defense_resources: dict[str, Quantity] = Field(default_factory=dict)


class ChangeGlyphConfig(ActionConfig):
    """Setting one's glyph: one action for each of `number_of_glyphs`."""

    number_of_glyphs: int = Field(0, ge=0, le=255)


def _on() -> ActionConfig:
    return ActionConfig(enabled=True)


class ActionsConfig(Config):
    """The verbs in the order of the flat action list (docs/world.md, section 3)."""

    noop: ActionConfig = Field(default_factory=_on)
    move: ActionConfig = Field(default_factory=_on)
    rotate: ActionConfig = Field(default_factory=ActionConfig)
    get_items: ActionConfig = Field(default_factory=_on)
    put_items: ActionConfig = Field(default_factory=ActionConfig)
    attack: AttackConfig = Field(default_factory=AttackConfig)
    swap: ActionConfig = Field(default_factory=ActionConfig)
    change_color: ActionConfig = Field(default_factory=ActionConfig)
    change_glyph: ChangeGlyphConfig = Field(default_factory=ChangeGlyphConfig)
    place_box: ActionConfig = Field(default_factory=ActionConfig)


class WallConfig(Config):
    """Something solid."""

    type: Literal["wall"] = "wall"
    type_id: TypeId = 1
    swappable: bool = False


class ConverterConfig(Config):
    """A machine that turns inputs into outputs (docs/world.md, section 4). `max_...` -1: no limit."""

    type: Literal["converter"] = "converter"
    type_id: TypeId
    input_resources: dict[str, Quantity] = Field(default_factory=dict)
    output_resources: dict[str, Quantity] = Field(default_factory=dict)
    max_output: int = Field(5, ge=-1, le=255 * 255)
    max_conversions: int = Field(-1, ge=-1, le=2**30)
    conversion_ticks: int = Field(1, ge=1, le=2**30)
    cooldown: int = Field(ge=0, le=2**30)
    initial_resource_count: Quantity = 0
    color: Quantity = 0


class BoxConfig(Config):
    """A box that agents place; its price is `actions.place_box.consumed_resources`."""

    type: Literal["box"] = "box"
    type_id: TypeId = 30


ObjectConfig = Annotated[WallConfig | ConverterConfig | BoxConfig, Field(discriminator="type")]


class RuleConfig(Config):
    """A rule of one's own: a function `rule(rules, state, buffers, e, **parameters)` that plays its part of each tick.

    docs/write-your-own-rule.md is the page about it.
    """

    function: str = Field(description="dotted path, `package.module.name`")
    moment: Literal["before_turns", "after_turns"] = Field(
        "after_turns", description="before anybody acts, or after all have acted and before they observe"
    )
    parameters: dict[str, int | float | str] = Field(
        default_factory=dict, description="a text is the name of a resource or an object, and is passed as its number"
    )


class WorldConfig(Config):
    """One world: its things, its rules and its map (docs/world.md, section 1)."""

    resources: list[str] = Field(default_factory=lambda: list(DEFAULT_RESOURCES), max_length=64)
    num_agents: int = Field(24, ge=1, le=32_000)
    max_steps: int = Field(1000, ge=0, le=2**30, description="0 = endless")
    episode_truncates: bool = True
    observation: ObservationConfig = Field(default_factory=ObservationConfig)
    agent: AgentConfig = Field(default_factory=AgentConfig)
    agents: list[AgentConfig] = Field(default_factory=list)
    actions: ActionsConfig = Field(default_factory=ActionsConfig)
    objects: dict[str, ObjectConfig] = Field(default_factory=dict)
    resource_loss_prob: float = Field(0.0, ge=0.0, le=1.0)
    allow_diagonals: bool = False
    recipe_details_obs: bool = False
    # Not written while empty: worlds from before there were such rules keep their hashes, and what is stored under them
    rules: list[RuleConfig] = Field(
        default_factory=list, max_length=8, exclude_if=lambda rules: not rules, description="of one's own, in order"
    )
    map: MapConfig = Field(default_factory=lambda: AsciiMapConfig(text="@"))
