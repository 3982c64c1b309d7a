"""What a run leaves behind: fields and particles for ParaView, tables, figures, pictures, a report."""
