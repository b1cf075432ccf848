"""Pure: configurations with many routes, as a host of many tenants has them."""


def routes(count: int, backend: str) -> str:
    """So many routes: nine in ten have a host of their own, the others a path, and the last is for everything else."""
    lines = []
    for n in range(count - 1):
        key = f'path = "/tenant-{n}/"' if n % 10 == 9 else f'host = "tenant-{n}.example.com"'
        lines.append(f'[[route]]\n{key}\nbackend = "{backend}"\n')
    return "\n".join([*lines, f'[[route]]\nbackend = "{backend}"\n'])
