"""Django as it comes, run as a program of its own, since its settings are of a whole process: models, transactions,
server-side cursors. django_app.py reads | works | share; WEIR_HOST, WEIR_PORT and WEIR_DATABASE say where."""

import contextlib
import datetime
import os
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": os.environ["WEIR_HOST"], "PORT": os.environ["WEIR_PORT"],
        "NAME": os.environ["WEIR_DATABASE"], "USER": "app", "ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 600}},
    INSTALLED_APPS=[], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__, SECRET_KEY="only a test", MIDDLEWARE=[])
django.setup()

from django.db import DatabaseError, connection, models, transaction  # noqa: E402
from django.db.models import Count, Sum  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


class Item(models.Model):
    id = models.IntegerField(primary_key=True)
    v = models.TextField()
    n = models.IntegerField()

    class Meta:
        app_label = "tests"
        db_table = "items"
        managed = False


def show(request, number):
    return HttpResponse(Item.objects.get(id=number).v)


def change(request, number):
    Item.objects.filter(id=number).update(v="changed")
    if "fail" in request.GET:
        raise DatabaseError("given up")
    return HttpResponse("done")


urlpatterns = [path("show/<int:number>", show), path("change/<int:number>", change)]


def reads():
    """The same request again and again, each in a transaction of Django's making."""
    client = Client()
    for _ in range(int(sys.argv[2])):
        assert client.get("/show/1").content == b"item 1"


class Order(models.Model):
    id = models.IntegerField(primary_key=True)
    item = models.ForeignKey(Item, models.DO_NOTHING, db_column="item")
    placed = models.DateTimeField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    note = models.CharField(max_length=40)

    class Meta:
        app_label = "tests"
        db_table = "orders"
        managed = False


def unit(number):
    """Reads of one request; returns how many statements they are."""
    since = datetime.datetime(2024, 1, 14 + number, tzinfo=datetime.timezone.utc)
    found = [Item.objects.get(id=number).v, list(Order.objects.filter(item_id=number).order_by("id")),
             list(Item.objects.order_by("id")[number:number + 5]), Order.objects.filter(placed__gt=since).count(),
             list(Order.objects.filter(item__id__lt=number + 3).values("item__v").annotate(Count("id"), Sum("price")).order_by("item__v")),
             list(Item.objects.filter(id__in=[1, number])), list(Order.objects.select_related("item").filter(note=f"note {number}")),
             Order.objects.filter(price__lt=9.5 + number).exists()]
    assert all(found)
    return len(found)


def share():
    """For each line of input, some units, in a transaction each or by themselves; says how many statements that were."""
    print("ready", flush=True)
    for _ in sys.stdin:
        count = 0
        for number in (1, 2, 3) * 4:
            with transaction.atomic() if sys.argv[2] == "transactions" else contextlib.nullcontext():
                count += unit(number)
        print("done", count, flush=True)


def works():
    client = Client(raise_request_exception=False)
    assert client.get("/change/2").content == b"done"
    assert client.get("/show/2").content == b"changed"
    assert client.get("/change/3?fail").status_code == 500
    assert client.get("/show/3").content == b"item 3"
    with transaction.atomic():
        assert sum(1 for _ in Item.objects.iterator(chunk_size=5)) == 20  # a server-side cursor
        try:
            with transaction.atomic():
                Item.objects.create(id=1, v="twice", n=0)
        except DatabaseError:
            pass
        Item.objects.create(id=100, v="new", n=0)
    assert sum(1 for _ in Item.objects.iterator(chunk_size=5)) == 21  # WITH HOLD, outside a transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text, %s::int", ["text", 7])
        assert cursor.fetchone() == ("text", 7)
    Item.objects.filter(id=100).delete()
    assert not Item.objects.filter(id=100).exists()


{"reads": reads, "share": share, "works": works}[sys.argv[1]]()
print("ok")
