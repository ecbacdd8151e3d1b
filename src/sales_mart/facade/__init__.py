"""The functions of `import sales_mart`: each is what the pipeline itself uses, or runs on it."""
