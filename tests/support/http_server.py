"""A real nginx with WebDAV, plain or with TLS, run by whoever runs the tests."""

from __future__ import annotations

from pathlib import Path

from tests.support.ports import free_port
from tests.support.servers import HOST, Server, make_certificate, new_folder, run_tool
from tests.support.unavailable import need_program, unavailable

MODULE = "ngx_http_dav_ext_module.so"
MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/local/lib/nginx/modules"))
CONFIGURATION = """\
load_module {module};
daemon off;
master_process off;
error_log stderr info;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    access_log /dev/stdout;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    server {{
        listen {host}:{port}{ssl};
        {certificates}
        root {folder}/files;
        location / {{
            auth_basic "test";
            auth_basic_user_file {folder}/users;
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
            create_full_put_path {full};
            dav_access user:rw group:r all:r;
            {options}
        }}
    }}
}}
"""


class HttpServer(Server):
    """`url` is where `root` is served; `user` and `password` are asked for; *tls* wants `authority` as the certificate to trust.

    *make_directories*: a PUT makes missing directories itself. *options* is more text for the location.
    """

    def __init__(self, folder: Path, *, tls: bool = False, make_directories: bool = False, options: str = ""):
        nginx = need_program("nginx", "nginx-light libnginx-mod-http-dav-ext")
        module = next((path / MODULE for path in MODULES if (path / MODULE).exists()), None)
        if module is None:
            unavailable("nginx has no dav_ext module (Debian: apt install libnginx-mod-http-dav-ext)")
        self.folder, self.root = new_folder(folder), new_folder(folder / "files")
        self.port, self.user, self.password = free_port(), "reader", "a secret:word"
        self.authority = make_certificate(folder).certificate if tls else None
        self.url = f"{'https' if tls else 'http'}://{HOST}:{self.port}"
        hashed = run_tool(need_program("openssl", "openssl"), "passwd", "-apr1", "-stdin", text=self.password).strip()
        (folder / "users").write_text(f"{self.user}:{hashed}\n")
        certificates = f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;" if tls else ""
        text = CONFIGURATION.format(module=module, folder=folder, host=HOST, port=self.port, ssl=" ssl" if tls else "",
                                    certificates=certificates, full="on" if make_directories else "off", options=options)
        (folder / "nginx.conf").write_text(text)
        self._serve([nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"], folder)
