"""Lineage in words and trees: what a job did, what a picture was made from, why a pass ran."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from storage.lineage import Lineage
