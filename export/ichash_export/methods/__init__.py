"""The methods, one file each. Adding one is adding a file here (and a recipe); nothing lists them by hand."""
