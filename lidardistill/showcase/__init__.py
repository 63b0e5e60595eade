"""Pictures of what a network learnt."""
