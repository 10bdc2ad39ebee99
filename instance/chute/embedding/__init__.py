"""The bundled sentence embedder, for modules that compare meanings."""
