"""How the measurements are printed."""


def row(what, value, unit):
    print(f"{what:<52}{value:>14,.3f} {unit}".replace(".000 ", " "), flush=True)
