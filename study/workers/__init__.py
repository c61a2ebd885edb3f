"""Ray: started, joined and left; work given to its processes; what becomes of it when they are lost."""
