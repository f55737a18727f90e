"""The service: recommendations over HTTP, from features in Redis and a model of BentoML's store.

``service`` is what BentoML starts, ``runtime`` what a worker holds meanwhile. A request comes in by ``web``, is answered by
``answering`` within ``rules``, on what ``data`` keeps in memory. ``storefront`` is the page for looking into all this.
"""
