"""Three-way merge of trees, lines and structured content.  Nothing is here yet."""
