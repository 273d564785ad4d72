"""placeholder"""
def lines_of_case(r):
    out=[]
    for k,v in r["results"].items():
        if "error" in v: out.append(f"  {k:18} ERROR {v['error']}"); continue
        gb=r["useful_bytes"]/1e9 or None
        w=v["wall_s"]["median"]; c=v["cpu_s"]["median"]
        out.append(f"  {k:18} {w*1e3:9.1f} ms  cpu {c*1e3:9.1f} ms" + (f"  {gb/w:6.2f} GB/s {c/gb:6.3f} s/GB" if gb else "") + f" peak {v['peak_memory_bytes']['median']/1e6:.0f} MB  {v['requests']} {v['body_bytes']/1e6:.1f} MB conns {v['connections']} {v['extra'] or ''}")
    return "\n".join(out)
