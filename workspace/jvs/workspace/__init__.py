"""The use-cases: repositories, pushes and pulls of real directories."""
